"""How do a folder's files become a trained model, and what do its results say?"""
