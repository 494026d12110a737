// Must not compile: there is no q8_8.
#include <qlib/instantiate.hpp>
QLIB_INSTANTIATE(q8_0, q8_8)
