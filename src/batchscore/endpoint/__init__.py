"""Which service is called, at which URL, authenticated as whom?"""
