"""How are many rows in flight at once, in the order of the quota?"""
