"""How does a new version of scored files replace the old one?"""
