"""Is another run working on this output?"""
