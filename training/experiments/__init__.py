"""The paper's experiments: what is run, how, and the page made of what the runs leave."""
