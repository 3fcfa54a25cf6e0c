"""Projections are the heads that take an encoder's features into a space; here they are, with their fits."""

from .anchored import Activation as Activation
from .anchored import LabelAnchored as LabelAnchored
from .autoencoder import Autoencoder as Autoencoder
from .autoencoder import Reconstruction as Reconstruction
from .autoencoder import autoencode as autoencode
from .base import IdentityProjection as IdentityProjection
from .base import Projection as Projection
from .chain import Chain as Chain
from .contrastive import Perceptron as Perceptron
from .contrastive import contrastive as contrastive
from .files import Fit as Fit
from .files import load_projection as load_projection
from .files import save_projection as save_projection
from .linear import Linear as Linear
from .linear import Moments as Moments
from .linear import Truncation as Truncation
from .linear import add_moments as add_moments
from .linear import from_classifier as from_classifier
from .linear import moments as moments
from .linear import procrustes as procrustes
from .linear import ridge as ridge
from .linear import whitening as whitening
from .shipped import load_shipped as load_shipped
from .shipped import read_shipped_fit as read_shipped_fit
