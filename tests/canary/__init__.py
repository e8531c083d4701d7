"""The canary: known secrets are planted wherever one can be, and then looked for everywhere.

Commands come from the parser, auth methods, their options and cache backends from their tables, so that whatever is
added there fails a test until it is played here.
"""
