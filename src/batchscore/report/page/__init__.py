"""How does the report page look, and what is on it?"""
