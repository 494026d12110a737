// The one source file that compiles every format for every instruction set, a minute or two of work: programs that choose formats at run
// time link it, and include <qlib/any.hpp> alone. To have fewer formats, define QLIB_INSTANTIATE_FORMATS as instantiate.hpp says.
#include <qlib/instantiate.hpp>
