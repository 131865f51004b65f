"""What does the command line offer, and how is it drawn in a terminal?"""
