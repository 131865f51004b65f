"""How do tables become files for training, validation and test?"""
