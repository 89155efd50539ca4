"""Training of the two VQ-VAEs and the masked autoencoder.

Only `prepare` needs the imaging libraries; everything after it reads one prepared file and needs torch,
numpy, safetensors and tqdm alone, so that it runs on any machine with a GPU.
"""
