"""How is a run logged to MLflow?"""
