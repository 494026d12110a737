// The one file of the tests that defines any.hpp's functions, for a few formats; tests/any.cpp knows them only by their declarations.
#include "support/own_format.hpp"

#define QLIB_INSTANTIATE_FORMATS(X)                                                                                                    \
    X(q8_0, 8, "Q8_0") X(q4_k, 12, "Q4_K") X(nvfp4, 40, "NVFP4") X(nf4, 0x1000, "NF4") X(int4_g128_asym, 0x1022, "INT4_G128_ASYM")       \
    X(::own_format, 0x10000, "OWN")
#include <qlib/instantiate.hpp>
