"""The full-screen form of `taskfarmer-ctl watch`, by textual, which is an extra.

`rows` says what is in the tables, without textual; `table`, `log_view` and `question` are parts of the screen, `errands` are
the commands behind the keys, and `application` puts them together. Texts of others are made printable and are never markup.
"""
