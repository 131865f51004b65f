"""How is one request sent until it is settled: quota, retries, health, outcome?"""
