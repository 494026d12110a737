// The one file of the tests that defines any.hpp's functions, for a few formats;
// tests/any.cpp knows them only by their declarations.
#include "support/own_format.hpp"

#include <qlib/instantiate.hpp>
QLIB_INSTANTIATE(q4_k, nvfp4, nf4, ::own_format)
