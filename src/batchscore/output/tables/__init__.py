"""How does a table come back: the input's rows with their answers as columns, as csv, tsv or xlsx?"""
