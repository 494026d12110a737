// The one file of the tests that defines any.hpp's functions, for a few formats; tests/any.cpp knows them only by their declarations.
#include "support/own_format.hpp"

#define QLIB_INSTANTIATE_FORMATS(X) X(q4_k, 12, "Q4_K") X(nvfp4, 40, "NVFP4") X(nf4, 0x1000, "NF4") X(::own_format, 0x10000, "OWN")
#include <qlib/instantiate.hpp>
