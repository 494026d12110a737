#include <qlib/qlib.hpp>

float rounded_natively(float x);
float rounded_natively(float x) { return qlib::f16::from(x).value(); }
