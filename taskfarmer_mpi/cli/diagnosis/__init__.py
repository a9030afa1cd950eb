"""What `taskfarmer-ctl doctor` finds out: what is installed, and where the ranks of a job are; it changes nothing."""
