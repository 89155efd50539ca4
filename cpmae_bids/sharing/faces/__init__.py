"""Does any file of a folder show a face?"""
