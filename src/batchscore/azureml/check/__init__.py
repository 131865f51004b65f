"""Which mistakes do the deployment files hold, before Azure ML finds them?"""
