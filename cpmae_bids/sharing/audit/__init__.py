"""What is asked of a dataset before it is shared: does it show faces, do outputs match their originals?"""
