"""Small networks gain nothing from threads, and on a busy machine threads wait for each other."""

import torch

torch.set_num_threads(1)
