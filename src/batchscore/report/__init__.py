"""What happened, and what should the user do next?"""
