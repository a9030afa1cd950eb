"""A farm as a batch job in one line: `taskfarmer-ctl submit`.

`words` says which words of the command line are whose, `request` what the job asks for and why, `filling` makes the script.
"""
