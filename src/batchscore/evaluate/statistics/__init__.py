"""How sure is a figure, and do two models differ?"""
