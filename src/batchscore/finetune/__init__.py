"""How does a table become a customised model: examples, a training job, a deployment, and its clean-up?"""
