"""Spaces of mmencode in the hosts that people already work with, a module for each host.

chroma                  an EmbeddingFunction, registered
lancedb                 a function of LanceDB's embedding registry
mteb                    an encoder and a search engine for MTEB's tasks
sentence_transformers   a space as its evaluators take a model
sklearn                 a transformer and a zero-shot classifier
clip_benchmark          a model, a tokenizer and a transform
spaces                  the space that a host keeps by its name, compared by its fingerprint

Each module needs its host, which is an extra of the same name: `pip install 'mmencode-adapters[chroma]'`. To
import this package imports none of them.
"""
