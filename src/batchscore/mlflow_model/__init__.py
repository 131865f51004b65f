"""How is an MLflow model saved, read and chosen?"""
