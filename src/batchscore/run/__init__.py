"""How does one run over files go, from settings to exit code?"""
