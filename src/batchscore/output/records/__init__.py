"""How do records look in JSON Lines, Parquet and Arrow?"""
