"""What can be set, where do values come from, and which go together?"""
