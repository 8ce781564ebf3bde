"""Updates of a layer's parameters by a gradient that is not multiplied out."""

from torch import Tensor

from harness.native import path
from harness.native.layers import require


class Layer:
    """One layer's parameters and Adagrad's sums for them, in place, for compiled updates alone.

    Args:
        W: weights (k, m).
        b: biases (m,).
        W_sums: sums of squares of the weights' gradients.
        b_sums: those of the biases'.
    """

    def __init__(self, W: Tensor, b: Tensor, W_sums: Tensor, b_sums: Tensor):
        self._memory = W, W_sums, b, b_sums
        self._shape = k, m = tuple(W.shape)
        for tensor, shape in zip(self._memory, ((k, m), (k, m), (m,), (m,)), strict=True):
            require(tensor, shape)
            if not (tensor.is_contiguous() and path.serves(tensor)):
                raise ValueError("compiled updates take single precision, on a processor, without gaps")
        self._at = [tensor.data_ptr() for tensor in self._memory]

    def adagrad(self, a: Tensor, g: Tensor, lr: float, decay: float) -> None:
        """Ascend with the gradients aᵀ g, less decay · W, and of b the sum of g, of a (n, k) and g (n, m):

            s ← s + g²    w ← w + lr · g / √s

        A panel of rows of aᵀ g is made, used while it is in cache, and forgotten.
        """
        (k, m), n = self._shape, a.shape[0]
        require(a, (n, k))
        require(g, (n, m))
        a, g = a.contiguous(), g.contiguous()
        path.kernels.adagrad(n, k, m, a.data_ptr(), g.data_ptr(), *self._at, lr, decay)
