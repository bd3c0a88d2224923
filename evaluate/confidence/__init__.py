"""What the confidence of answers is worth: does the error fall where the network is surer?"""
