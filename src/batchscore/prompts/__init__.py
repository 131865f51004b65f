"""How does a row become a prompt, prompts a request body, and a reply answers?"""
