"""What is a valid example of a training file, and what does a file of them hold?"""
