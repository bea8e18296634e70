"""What runtimes that give logits score with: tries, beam search, mixtures, reductions, batches that fit."""
