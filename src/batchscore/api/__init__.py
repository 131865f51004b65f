"""What does Python call: to score files, rows in memory or a DataFrame, and to read scores back?"""
