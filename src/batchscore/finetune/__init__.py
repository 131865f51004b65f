"""How does a table become a customised model: from examples to files that a service trains on?"""
