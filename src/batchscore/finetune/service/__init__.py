"""Which service trains, how is it called, and how do services differ?"""
