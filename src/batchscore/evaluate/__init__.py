"""How good are scores, measured against labels?"""
