"""How do rows in memory go through the engine, and how are scores read back?"""
