"""How is an evaluation shown as a page?"""
