// The one file of the engine that compiles kernels: for the formats that it wants to run, each for every instruction set. Without the list
// it would be every format that qlib names.
#define QLIB_INSTANTIATE_FORMATS(X) X(q8_0, 8, "Q8_0") X(q4_k, 12, "Q4_K") X(q6_k, 14, "Q6_K")
#include <qlib/instantiate.hpp>
