"""What does a run show while it works: rates, ETA, waiting?"""
