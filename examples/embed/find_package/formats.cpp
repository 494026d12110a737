// The one file of the engine that compiles kernels: for the formats that it wants to run, each for every instruction
// set. Without the list it would be every format that qlib names.
#include <qlib/instantiate.hpp>
QLIB_INSTANTIATE(q8_0, q4_k, q6_k)
