// Must not compile: a format of one's own needs a number.
#include <qlib/instantiate.hpp>
struct own : qlib::format<qlib::sint_grid<4>, qlib::scale_per<32, qlib::f16>, qlib::inline_blocks<>> {};
QLIB_INSTANTIATE_ONLY(operations::decode, ::own)
