"""`frechet_distance`: the distance between two sets of feature vectors as normal distributions."""

import numpy as np
from numpy.typing import NDArray


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the squared Fréchet distance between two sets of vectors (N, features).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of their means and covariances (Dowson and Landau
    1982; Heusel et al. 2017, arXiv:1706.08500). Needs two vectors of each set; with fewer vectors
    than features the covariances are singular, which the trace is defined for.
    """
    means = [values.mean(axis=0) for values in (first, second)]
    roots = [_root_of_covariance(values) for values in (first, second)]
    # The trace of the root of S1 S2 is the sum of the singular values of S1^(1/2) S2^(1/2).
    shared = float(np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum())
    traces = sum(float(np.square(root).sum()) for root in roots)
    return max(0.0, float(np.square(means[0] - means[1]).sum()) + traces - 2 * shared)


def _root_of_covariance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric root of the covariance (n - 1) of vectors (N, features)."""
    eigenvalues, vectors = np.linalg.eigh(np.atleast_2d(np.cov(values, rowvar=False)))
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ vectors.T
    return root
