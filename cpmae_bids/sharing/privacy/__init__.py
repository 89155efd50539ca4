"""Do outputs match their own originals better than those of others?"""
