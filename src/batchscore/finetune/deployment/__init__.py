"""How does a trained model come to answer, and how is nothing left at the service?"""
