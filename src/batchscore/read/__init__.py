"""Which files are there, and what are the rows of each?"""
